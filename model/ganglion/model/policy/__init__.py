"""The sensor-fusion policy: streaming sensor encoder, action expert, and both with a backbone as one model.

    config.py           PolicyConfig, policy_config: every number that shapes the model
    transformer.py      attention and the pre-norm block that encoder and expert share
    sensor_encoder.py   SensorEncoder, SensorState: samples -> frames, whole windows and streams alike
    stream.py           SensorStream: one robot's samples in pieces of any length
    context.py          Context, ContextTokens: all that is known when a chunk is decided, as tokens
    fusion.py           how the chunk's tokens read their context: concat, cross_attention, gated, none
    action_expert.py    ActionExpert: context -> action chunk, by regression or flow matching
    network.py          PolicyNetwork: encoder and expert
    folder.py           what the files of a policy's folder are, and whether they fit together
    kept_moments.py     KeptMoments: real moments beside a policy, that it was not trained on
    policy.py           VLAPolicy: network, backbone, robot and normalization: images and samples in, real units out

Import from the modules; this one stays light.
"""
