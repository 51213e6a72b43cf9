"""One recipe of views a file; a new file is a new recipe. Files with an underscore help others."""
