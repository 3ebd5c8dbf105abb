"""Front ends: waveform to what a network takes."""
