"""The mathematics: schedules, denoisers, parametrizations, losses, guidance, analytic denoisers."""
