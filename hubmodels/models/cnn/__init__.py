"""Convolutional networks: LeNet, VGG, ResNet and wide ResNet as configs of one model."""
