"""From official files to arrays: where the images come from, how they are fetched, checked, prepared and split."""
