"""One module a command of `trueup`; `trueup.cli` lists them."""
