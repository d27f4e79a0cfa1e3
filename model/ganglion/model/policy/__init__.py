"""The sensor-fusion policy: streaming sensor encoder, action expert, and the two as one model.

    config.py           PolicyConfig, policy_config: every number that shapes the model
    transformer.py      the pre-norm transformer block that encoder and expert share
    sensor_encoder.py   SensorEncoder, SensorState: samples -> frames, whole windows and streams alike
    action_expert.py    ActionExpert: frames and VL features -> action chunk
    policy.py           VLAPolicy: both, saved and loaded as one folder

Import from the modules; this one stays light.
"""
