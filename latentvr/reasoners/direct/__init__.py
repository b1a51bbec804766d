"""Direct SFT, the control without latents."""
