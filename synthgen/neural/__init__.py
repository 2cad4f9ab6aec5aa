"""What generators that learn share, whatever network they train: how grey values become numbers (`tones`), what a
network is shown (`crops`), what it is asked to draw and what becomes of it (`scene`), and when to stop (`watch`)."""
