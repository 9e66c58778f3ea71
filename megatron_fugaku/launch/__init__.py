"""Starting ranks: on this machine, or through the job folders of PJM and Slurm. Kept free of imports: ranks load it."""
