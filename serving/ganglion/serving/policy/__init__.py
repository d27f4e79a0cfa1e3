"""The sensor-fusion policy, served: `PolicyEngine` is shared and knows no robot, `PolicySession` is one robot's.

engine.py         PolicyEngine: the graphs of a bundle, and its sessions
session.py        PolicySession: hops and frames in, action chunks out; core.messages.PolicyClient in-process
sensor_stream.py  SensorStream: one robot's samples, encoded hop by hop with carried state
vl_encoder.py     VlEncoder: camera frames and instruction -> VL features, by a graph here or elsewhere
vl_refresh.py     VlRefresh: the threads that keep VL features fresh without ever delaying a hop
"""
