"""How good posteriors of lens parameters are: bias and scatter, coverage, calibration and sharpness."""
