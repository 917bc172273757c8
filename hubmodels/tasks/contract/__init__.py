"""What every input, target, task and problem has: the contract that the stages rely on."""
