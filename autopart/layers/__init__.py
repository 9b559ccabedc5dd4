"""Layer profiles: layers that somebody else measured, planned over data, tensor and pipeline in place of a traced model."""
