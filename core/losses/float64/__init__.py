"""The float64 network: what every layer of every network should compute, from the formulas alone.

operations.py: layers as functions of arrays. walk.py: a network as a list of its layers. network.py: whole networks.
Conformance holds each backend to it, and the parity report judges both by it.
"""
