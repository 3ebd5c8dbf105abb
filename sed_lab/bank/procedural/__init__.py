"""The procedural sound bank: each class a small physical model, nothing recorded, nothing downloaded."""
