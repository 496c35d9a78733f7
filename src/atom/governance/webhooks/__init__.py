"""What people decide, told to other systems: signed, repeated until it arrives, with a receipt."""
