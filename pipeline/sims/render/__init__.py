"""Images of light and mass: profiles, deflection, convolution, and the noise of a sky."""
