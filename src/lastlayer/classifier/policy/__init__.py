"""How a classifier decides: stated by settings, fitted on the calibration rows, told in sentences."""
