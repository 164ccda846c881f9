"""What is learnt from labels: segment, classify, localize. Know no method."""
