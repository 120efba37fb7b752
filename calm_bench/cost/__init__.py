"""What a generation costs: FLOPs by formula (`flops`), seconds by the clock."""
