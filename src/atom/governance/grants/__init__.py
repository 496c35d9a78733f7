"""Named grants: what an autonomous agent may do past the floor, given by a person with a reason."""
