"""Those who watch a run and never decide: display, pictures. They may fail."""
