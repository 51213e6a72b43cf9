"""The miniature: drawn faces, and models small enough to stand in the repository.

Drawn faces stand for photographs; a Stable Diffusion and a CLIP that were trained on them stand for
the published ones. The scripts that trained them are in the folder ``miniature`` of the repository.
"""
