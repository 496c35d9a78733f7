"""Programs nobody vouches for, run so that they cannot get out. `ports` is what it promises."""
