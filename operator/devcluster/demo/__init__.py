"""The main job, for people to watch: a bad prompt version is released, noticed, and rolled back."""
