"""Mathematics of diffusion: noise schedules, denoisers, parametrizations, losses, guidance, analytic denoisers."""
