"""How each operator of the integer graph becomes TOSA operators."""
