"""The sensor-fusion policy, served: `PolicyEngine` is shared and knows no robot, `PolicySession` is one robot's.

engine.py         PolicyEngine: the graphs of a bundle, and its sessions
graph_shapes.py   whether these graphs are those of the manifest's form of policy
session.py        PolicySession: hops and frames in, action chunks out; core.messages.PolicyClient in-process
sensor_stream.py  SensorStream: one robot's samples, encoded hop by hop with carried state
ticks.py          Ticks: in its place where the policy reads no samples
sight.py          Sight: what one robot's cameras showed last
vl_refresh.py     VlRefresh: the threads that keep VL features fresh without ever delaying a hop
vl_encoder.py     VlEncoder: camera frames and instruction -> VL features, by a graph here or elsewhere
action_head.py    ActionHead: from all of this to a chunk in the robot's units
"""
