"""The values: config.yaml and one folder a group. Ships in the wheel, read by Hydra as pkg://sed_lab.conf."""
