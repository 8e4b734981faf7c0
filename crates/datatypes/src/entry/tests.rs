//! Goal: an entry gives back exactly what was put in, through every move between its forms.
