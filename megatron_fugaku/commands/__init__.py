"""One module per verb of ``mfugaku``: ``configure(parser)`` adds its arguments, ``run(args)`` calls the rooms."""
