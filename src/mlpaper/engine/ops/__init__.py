"""Array operations of the engine: the equations (`reference`, `activations`), and faster versions of the hot ones
(`cpu`, `gpu`), as classes that override methods of `reference.Ops`.

Operations write into arrays that the caller owns and allocate nothing that outlives the call.
"""
