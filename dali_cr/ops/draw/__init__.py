"""Operations that draw boxes to swap or to mask, from seed and sample number."""
