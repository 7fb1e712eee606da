"""The mathematics of diffusion: noise process, schedule, solver and guidance, each on its own."""
