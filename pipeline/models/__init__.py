"""Models of stage one: Stable Diffusion, and the small ones for trials offline."""
