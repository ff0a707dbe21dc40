"""Array operations of the engine: the equations (`reference`) and faster versions of the hot ones (`cpu`).

Every module that overrides operations has the signatures of `reference`, which a test checks. Operations write into
arrays that the caller owns and allocate nothing that outlives the call.
"""
