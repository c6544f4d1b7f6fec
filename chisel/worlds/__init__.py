"""Worlds: environments that also tell the ground truth about themselves. One file each; the contract is in `world`."""

from chisel.worlds.gallery import GALLERY
from chisel.worlds.smile import SMILE
from chisel.worlds.world import World

WORLDS: dict[str, World] = {
    "smile": SMILE,
    "gallery": GALLERY,
}
