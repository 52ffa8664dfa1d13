"""How loss falls with parameters and tokens: the law, its fit with honest intervals, and plans made from it."""
