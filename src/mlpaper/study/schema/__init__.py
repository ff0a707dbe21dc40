"""What may stand in `config.yaml`, in a study file and in a scale file. Only shapes: no loading, no expanding.

Everything forbids unknown keys at every level, so that `hiden: [5]` fails and suggests `hidden`.
"""
