"""The torch modules that training and export share: VLM loading, the offline base, the sensor-fusion policy."""
