"""What a client may ask of a served VLM, checked in one place for every server around the engine.

bounds.py         what one request may cost
messages.py       a dialogue in OpenAI's form; pictures.py its images, schema_bounds.py schemas, fields.py the rest
request.py        all of it together, and how it is handed to the engine
wrong.py          which field is wrong, and why
"""
