"""Arm Ethos-U: compiles the TFLite artifact with Vela and reads its reports."""
