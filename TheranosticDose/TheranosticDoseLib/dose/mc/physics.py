"""Transport of one history: random numbers, electrons, photons.

Units are cm, g/cm3 and MeV.  A particle is a row of the stack:
``kind, x, y, z, u, v, w, energy``, positions from the corner of the grid.

Electrons: condensed history with the random hinge (Fernandez-Varea et al., NIM B 73
(1993) 447).  A step has a length in g/cm2; its energy loss is scored voxel by
voxel along the two straight halves, and one deflection at a random point of it has
the first and second transport moments of the step (artificial distribution of
Salvat, PENELOPE 2003).  Losses above ``HARD`` are single Moller collisions or
bremsstrahlung photons.  An electron that cannot leave its voxel is absorbed there
(a bremsstrahlung photon may leave it).

Photons: Woodcock tracking; photoelectric effect, Compton scattering (Klein-Nishina
times the incoherent scattering function) and Rayleigh scattering (form factors).
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np

from TheranosticDoseLib.dose.mc.target import deposit_function, device

deposit = deposit_function()

# The grid and the tables.  ``cells``: (z, y, x) int32, density in 1e-6 g/cm3 times 8 plus the tissue;
# ``bounds``: (z, y, x) float32, by block of cells the highest probability that a photon interacts there
# where it might (most often said without a look into the much larger ``cells``).
World = namedtuple("World", "cells bounds electrons brems_shape photons scattering largest numbers")
# What is emitted and where; ``guide`` is the line at 0/1024, 1/1024, ... of the cumulative probability.
Source = namedtuple("Source", "cumulative voxels probability low width kinds guide")

ELECTRON, PHOTON, POSITRON_PROBE = 0, 1, 2
MC2 = 0.51099895
DENSITY_UNIT = 1e-6
GUIDE = 1024
STACK_ROWS = 64
BLOCK_BITS = 2  # a block is 4 x 4 x 4 cells
# Columns of the electron table (tissue, energy, column) ...
RANGE, LOSS, FIRST, SECOND, MOLLER, BREMS, PHOTONS = range(7)
# ... of the photon table (tissue, energy, column), cumulative from left to right ...
PHOTO, PHOTO_INCOHERENT, TOTAL = range(3)
# ... of the list of numbers ...
ELECTRON_LOG0, ELECTRON_STEPS, PHOTON_LOG0, PHOTON_STEPS, TRANSFER_LOG0, TRANSFER_STEPS = range(6)
HARD, HARD_PHOTON, ELECTRON_CUT, PHOTON_CUT, STEP_FRACTION, DX, DY, DZ, WEIGHT, UNRESOLVED = range(6, 16)
# ... and of the totals.
ESCAPED, STACK_LOST, EMITTED, PROBE_X, PROBE_Y, PROBE_Z, PROBE_INSIDE = range(7)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11, _ONE = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11), np.uint64(1)
_INVERSE_2_53 = 1.0 / 9007199254740992.0


@device
def mix(value):
    """Return 64 well mixed bits (Stafford's variant 13 of the finalizer of MurmurHash3)."""
    value = (value ^ (value >> _S30)) * _MIX1
    value = (value ^ (value >> _S27)) * _MIX2
    return value ^ (value >> _S31)


@device
def start_random(random, key, history):
    """Start the stream of one history: a SplitMix64 with its own increment (Steele 2014)."""
    random[0] = mix(key ^ mix(history + _GOLDEN))
    random[1] = mix(random[0] + _GOLDEN) | _ONE


@device
def uniform(random):
    """Return a number in (0, 1)."""
    random[0] += random[1]
    return (float(mix(random[0]) >> _S11) + 0.5) * _INVERSE_2_53


@device
def rotate(u, v, w, cosine, phi):
    """Return the direction ``u, v, w`` turned by a polar and an azimuthal angle."""
    sine = math.sqrt(max(0.0, 1.0 - cosine * cosine))
    a, b = sine * math.cos(phi), sine * math.sin(phi)
    across = u * u + v * v
    if across < 1e-12:
        sign = 1.0 if w > 0.0 else -1.0
        return a, b, sign * cosine
    across = math.sqrt(across)
    nu = u * cosine + (u * w * a - v * b) / across
    nv = v * cosine + (v * w * a + u * b) / across
    nw = w * cosine - across * a
    norm = 1.0 / math.sqrt(nu * nu + nv * nv + nw * nw)
    return nu * norm, nv * norm, nw * norm


@device
def push(stack, top, totals, weight, kind, x, y, z, u, v, w, energy):
    """Put a particle on the stack; a full stack is counted as escaped energy, never lost silently."""
    if top >= stack.shape[0]:
        totals[ESCAPED] += weight * energy
        totals[STACK_LOST] += weight * energy
        return top
    row = stack[top]
    row[0], row[1], row[2], row[3] = kind, x, y, z
    row[4], row[5], row[6], row[7] = u, v, w, energy
    return top + 1


@device
def isotropic(random):
    """Return a random direction."""
    c = 2.0 * uniform(random) - 1.0
    s = math.sqrt(max(0.0, 1.0 - c * c))
    phi = 2.0 * math.pi * uniform(random)
    return s * math.cos(phi), s * math.sin(phi), c


@device
def place(value, rows):
    """Return the row and the fraction of a position in a table, held within it."""
    row = min(max(int(value), 0), rows - 2)
    return row, value - row


@device
def at(table, medium, row, f, column):
    """Return the linear interpolation in one column."""
    low = table[medium, row, column]
    return low + f * (table[medium, row + 1, column] - low)


@device
def to_face(x, y, z, i, j, k, numbers):
    """Return the distance to the nearest face of the voxel, cm."""
    dx, dy, dz = numbers[DX], numbers[DY], numbers[DZ]
    a = min(x - i * dx, (i + 1) * dx - x)
    b = min(y - j * dy, (j + 1) * dy - y)
    c = min(z - k * dz, (k + 1) * dz - z)
    return min(a, min(b, c))


@device
def moller_loss(random, energy, hard):
    """Return the energy transfer of a Moller collision between ``hard`` and half the energy."""
    gamma = 1.0 + energy / MC2
    g = (2.0 * gamma - 1.0) / (gamma * gamma)
    low = hard / energy
    top = max(1.0, 1.0 - 0.5 * g + 0.25 * (1.0 - g + (1.0 - 0.5 * g) / 0.25))
    while True:
        r = uniform(random)
        x = low * 0.5 / (0.5 - r * (0.5 - low))
        y = 1.0 - x
        if uniform(random) * top <= 1.0 - g * x + x * x * (1.0 - g + (1.0 - g * y) / (y * y)):
            return x * energy


@device
def brems_energy(random, energy, row, world):
    """Return the energy of a hard bremsstrahlung photon: 1/k times the tabulated shape."""
    hard, shape = world.numbers[HARD_PHOTON], world.brems_shape
    while True:
        k = hard * math.exp(uniform(random) * math.log(energy / hard))
        i, f = place(k / energy * (shape.shape[1] - 1), shape.shape[1])
        if uniform(random) <= shape[row, i] + f * (shape[row, i + 1] - shape[row, i]):
            return k


@device
def absorb(random, stack, top, totals, world, tally, cell, medium, row, x, y, z, energy):
    """Absorb an electron on the spot, but for the bremsstrahlung photon it may send out on its way to rest."""
    wanted = uniform(random)
    table, numbers = world.electrons, world.numbers
    if wanted < table[medium, row, PHOTONS]:
        while row > 0 and table[medium, row - 1, PHOTONS] > wanted:
            row -= 1
        emitting = math.exp(numbers[ELECTRON_LOG0] + row / numbers[ELECTRON_STEPS])
        if emitting > numbers[HARD_PHOTON]:
            photon_energy = brems_energy(random, emitting, row, world)
            u, v, w = isotropic(random)
            top = push(stack, top, totals, numbers[WEIGHT], PHOTON, x, y, z, u, v, w, photon_energy)
            energy -= photon_energy
    deposit(tally, cell, numbers[WEIGHT] * energy)
    return top


@device
def local(random, stack, top, totals, world, tally, x, y, z, i, j, k, energy):
    """Absorb an electron that cannot leave its voxel; return the new top, or -1 where it can."""
    numbers, table = world.numbers, world.electrons
    cell = (k * world.cells.shape[1] + j) * world.cells.shape[2] + i
    if energy <= numbers[ELECTRON_CUT]:
        deposit(tally, cell, numbers[WEIGHT] * energy)
        return top
    code = world.cells[k, j, i]
    medium = code & 7
    row, f = place((math.log(energy) - numbers[ELECTRON_LOG0]) * numbers[ELECTRON_STEPS], table.shape[1])
    room = (code >> 3) * DENSITY_UNIT * max(to_face(x, y, z, i, j, k, numbers), numbers[UNRESOLVED])
    if at(table, medium, row, f, RANGE) > room:
        return -1
    return absorb(random, stack, top, totals, world, tally, cell, medium, row, x, y, z, energy)


@device
def deflect(random, u, v, w, step, first, second):
    """Return the direction after a step: the two-part distribution with its first two moments."""
    mean = 0.5 * (1.0 - math.exp(-step * first))
    square = mean - (1.0 - math.exp(-step * second)) / 6.0
    mu = uniform(random)
    if mean < 0.45:
        edge = (2.0 * mean - 3.0 * square) / (1.0 - 2.0 * mean)
        part = 1.0 - 2.0 * mean + edge
        mu = edge * mu / part if mu < part else edge + (1.0 - edge) * (mu - part) / (1.0 - part)
    return rotate(u, v, w, 1.0 - 2.0 * mu, 2.0 * math.pi * uniform(random))


@device
def electron(random, stack, top, totals, world, tally):
    """Transport the electron on top of the stack until it is absorbed or leaves; return the new top."""
    top -= 1
    probe = stack[top, 0] == POSITRON_PROBE
    x, y, z = stack[top, 1], stack[top, 2], stack[top, 3]
    u, v, w = stack[top, 4], stack[top, 5], stack[top, 6]
    energy = stack[top, 7]
    cells, table, numbers = world.cells, world.electrons, world.numbers
    nz, ny, nx = cells.shape
    dx, dy, dz = numbers[DX], numbers[DY], numbers[DZ]
    i = min(max(int(x / dx), 0), nx - 1)
    j = min(max(int(y / dy), 0), ny - 1)
    k = min(max(int(z / dz), 0), nz - 1)
    hard, weight, rows = numbers[HARD], numbers[WEIGHT], table.shape[1]
    score = 0.0 if probe else weight
    inside = True
    while True:
        code = cells[k, j, i]
        medium = code & 7
        rho = (code >> 3) * DENSITY_UNIT
        log = (math.log(energy) - numbers[ELECTRON_LOG0]) * numbers[ELECTRON_STEPS]
        row, f = place(log, rows)
        if energy <= numbers[ELECTRON_CUT] and rho > 0.0:
            break
        full_range = at(table, medium, row, f, RANGE)
        near = to_face(x, y, z, i, j, k, numbers)
        if full_range <= rho * max(near, numbers[UNRESOLVED]):
            break
        # Length of this step, g/cm2, and the energy in the middle of it.
        step = numbers[STEP_FRACTION] * full_range
        part = 0.5 * step * at(table, medium, row, f, LOSS) / energy
        log -= numbers[ELECTRON_STEPS] * part * (1.0 + part * (0.5 + part / 3.0))
        row, f = place(log, rows)
        moller = at(table, medium, row, f, MOLLER)
        hard_events = moller + at(table, medium, row, f, BREMS)
        event = False
        if hard_events > 0.0:
            free = -math.log(uniform(random)) / hard_events
            if free < step:
                step = free
                event = True
        remaining = step * uniform(random)
        after = step - remaining
        turned = False
        loss = at(table, medium, row, f, LOSS)
        if step < rho * near:
            # No face can be reached: the step needs no search for one.
            lost = min(step * loss, energy)
            energy -= lost
            deposit(tally, (k * ny + j) * nx + i, score * lost)
            x += remaining / rho * u
            y += remaining / rho * v
            z += remaining / rho * w
            remaining = 0.0
            first, second = at(table, medium, row, f, FIRST), at(table, medium, row, f, SECOND)
            u, v, w = deflect(random, u, v, w, step, first, second)
            x += after / rho * u
            y += after / rho * v
            z += after / rho * w
        while remaining > 0.0:
            tx = ((i + 1) * dx - x) / u if u > 0.0 else ((i * dx - x) / u if u < 0.0 else 1e30)
            ty = ((j + 1) * dy - y) / v if v > 0.0 else ((j * dy - y) / v if v < 0.0 else 1e30)
            tz = ((k + 1) * dz - z) / w if w > 0.0 else ((k * dz - z) / w if w < 0.0 else 1e30)
            path = max(min(tx, min(ty, tz)), 0.0)
            mass = path * rho
            leaves = mass < remaining
            if not leaves:
                mass = remaining
                path = mass / rho
            lost = min(mass * loss, energy)
            energy -= lost
            remaining -= mass
            deposit(tally, (k * ny + j) * nx + i, score * lost)
            x += path * u
            y += path * v
            z += path * w
            if energy <= 0.0:
                break
            if not leaves:
                if turned:
                    break
                # The deflection of the whole step, in the tissue where it happens.
                turned = True
                remaining = after
                u, v, w = deflect(
                    random, u, v, w, step, at(table, medium, row, f, FIRST), at(table, medium, row, f, SECOND)
                )
                continue
            if tx <= ty and tx <= tz:
                i += 1 if u > 0.0 else -1
            elif ty <= tz:
                j += 1 if v > 0.0 else -1
            else:
                k += 1 if w > 0.0 else -1
            if i < 0 or j < 0 or k < 0 or i >= nx or j >= ny or k >= nz:
                inside = False
                break
            code = cells[k, j, i]
            rho = (code >> 3) * DENSITY_UNIT
            if code & 7 != medium:
                medium = code & 7
                loss = at(table, medium, row, f, LOSS)
        if not inside or energy <= 0.0:
            break
        if event:
            phi = 2.0 * math.pi * uniform(random)
            if uniform(random) * hard_events < moller:
                if energy > 2.0 * hard:
                    transfer = moller_loss(random, energy, hard)
                    rest = energy - transfer
                    cosine = math.sqrt(transfer * (energy + 2.0 * MC2) / (energy * (transfer + 2.0 * MC2)))
                    if not probe:
                        new = local(random, stack, top, totals, world, tally, x, y, z, i, j, k, transfer)
                        if new < 0:
                            a, b, c = rotate(u, v, w, cosine, phi + math.pi)
                            new = push(stack, top, totals, weight, ELECTRON, x, y, z, a, b, c, transfer)
                        top = new
                    cosine = math.sqrt(rest * (energy + 2.0 * MC2) / (energy * (rest + 2.0 * MC2)))
                    u, v, w = rotate(u, v, w, cosine, phi)
                    energy = rest
            elif energy > numbers[HARD_PHOTON]:
                transfer = brems_energy(random, energy, row, world)
                speed = math.sqrt(energy * (energy + 2.0 * MC2)) / (energy + MC2)
                r = 2.0 * uniform(random) - 1.0
                a, b, c = rotate(u, v, w, (r + speed) / (1.0 + speed * r), phi)
                if not probe:
                    top = push(stack, top, totals, weight, PHOTON, x, y, z, a, b, c, transfer)
                energy -= transfer
    if probe:
        totals[PROBE_X], totals[PROBE_Y], totals[PROBE_Z] = x, y, z
        totals[PROBE_INSIDE] = 1.0 if inside else 0.0
    elif not inside:
        totals[ESCAPED] += weight * energy
    elif energy > 0.0:
        cell = (k * ny + j) * nx + i
        return absorb(random, stack, top, totals, world, tally, cell, medium, row, x, y, z, energy)
    return top


@device
def compton(random, energy, medium, world):
    """Return the energy and the cosine of the scattered photon."""
    scattering, numbers = world.scattering, world.numbers
    kappa = energy / MC2
    least = 1.0 / (1.0 + 2.0 * kappa)
    log = -math.log(least)
    flat = 0.5 * (1.0 - least * least)
    while True:
        if uniform(random) * (log + flat) < log:
            epsilon = math.exp(-log * uniform(random))
        else:
            epsilon = math.sqrt(least * least + (1.0 - least * least) * uniform(random))
        t = (1.0 - epsilon) / (kappa * epsilon)
        accept = 1.0 - epsilon * t * (2.0 - t) / (1.0 + epsilon * epsilon)
        chance = uniform(random)
        if chance < accept:
            # x = sin(angle/2) E / hc, 1/angstrom; hc = 12.39842 keV angstrom
            transfer = math.sqrt(max(0.5 * t, 1e-12)) * energy / 0.01239842
            value = (math.log(transfer) - numbers[TRANSFER_LOG0]) * numbers[TRANSFER_STEPS]
            row, f = place(max(value, 0.0), scattering.shape[1])
            if chance < accept * at(scattering, medium, row, min(f, 1.0), 0):
                return epsilon * energy, 1.0 - t


@device
def rayleigh(random, energy, medium, world):
    """Return the cosine of a Rayleigh scattering: squared form factor times Thomson."""
    table, numbers = world.scattering, world.numbers
    limit = energy / 0.01239842
    value = (math.log(limit) - numbers[TRANSFER_LOG0]) * numbers[TRANSFER_STEPS]
    row, f = place(max(value, 0.0), table.shape[1])
    most = at(table, medium, row, min(f, 1.0), 1)
    while True:
        wanted = most * uniform(random)
        low, high = 0, table.shape[1] - 1
        while high - low > 1:
            middle = (low + high) // 2
            if table[medium, middle, 1] <= wanted:
                low = middle
            else:
                high = middle
        below, above = table[medium, low, 1], table[medium, high, 1]
        part = (wanted - below) / (above - below) if above > below else 0.0
        # The table is cumulative in x^2, linear between its points.
        square = max(at(table, medium, low, part, 2), 0.0)
        cosine = 1.0 - 2.0 * min(square / (limit * limit), 1.0)
        if 2.0 * uniform(random) <= 1.0 + cosine * cosine:
            return cosine


@device
def photon(random, stack, top, totals, world, tally):
    """Transport the photon on top of the stack; its electrons go onto the stack; return the new top."""
    top -= 1
    x, y, z = stack[top, 1], stack[top, 2], stack[top, 3]
    u, v, w = stack[top, 4], stack[top, 5], stack[top, 6]
    numbers, table = world.numbers, world.photons
    energy, weight = stack[top, 7], numbers[WEIGHT]
    nz, ny, nx = world.cells.shape
    ix, iy, iz = 1.0 / numbers[DX], 1.0 / numbers[DY], 1.0 / numbers[DZ]
    i = min(max(int(x * ix), 0), nx - 1)
    j = min(max(int(y * iy), 0), ny - 1)
    k = min(max(int(z * iz), 0), nz - 1)
    while True:
        if energy <= numbers[PHOTON_CUT]:
            deposit(tally, (k * ny + j) * nx + i, weight * energy)
            return top
        row, f = place((math.log(energy) - numbers[PHOTON_LOG0]) * numbers[PHOTON_STEPS], table.shape[1])
        mean_free_path = 1.0 / (world.largest[row] + f * (world.largest[row + 1] - world.largest[row]))
        medium, chance = 0, 0.0
        while True:
            path = -math.log(uniform(random)) * mean_free_path
            x += path * u
            y += path * v
            z += path * w
            fi, fj, fk = x * ix, y * iy, z * iz
            if fi < 0.0 or fj < 0.0 or fk < 0.0 or fi >= nx or fj >= ny or fk >= nz:
                totals[ESCAPED] += weight * energy
                return top
            i, j, k = int(fi), int(fj), int(fk)
            chance = uniform(random)
            if chance >= world.bounds[k >> BLOCK_BITS, j >> BLOCK_BITS, i >> BLOCK_BITS]:
                continue
            code = world.cells[k, j, i]
            medium = code & 7
            rho = (code >> 3) * DENSITY_UNIT
            if chance < rho * at(table, medium, row, f, TOTAL) * mean_free_path:
                chance /= rho * mean_free_path
                break
        if chance < at(table, medium, row, f, PHOTO):
            # Binding energy and fluorescence stay with the photoelectron (at most 4 keV in bone).
            rest, cosine, recoil = 0.0, 0.0, energy
        elif chance < at(table, medium, row, f, PHOTO_INCOHERENT):
            rest, cosine = compton(random, energy, medium, world)
            recoil = energy - rest
        else:
            rest, cosine, recoil = energy, rayleigh(random, energy, medium, world), 0.0
        phi = 2.0 * math.pi * uniform(random)
        if recoil > 0.0:
            new = local(random, stack, top, totals, world, tally, x, y, z, i, j, k, recoil)
            if new >= 0:
                top = new
            else:
                if rest > 0.0:
                    momentum = math.sqrt(recoil * (recoil + 2.0 * MC2))
                    a, b, c = rotate(u, v, w, min((energy - rest * cosine) / momentum, 1.0), phi + math.pi)
                else:
                    a, b, c = isotropic(random)
                top = push(stack, top, totals, weight, ELECTRON, x, y, z, a, b, c, recoil)
            if rest == 0.0:
                return top
        energy = rest
        u, v, w = rotate(u, v, w, cosine, phi)


@device
def history(random, stack, totals, world, tally, kind, x, y, z, i, j, k, energy):
    """Transport one emitted particle (isotropic) and all that it sets free."""
    numbers = world.numbers
    weight = numbers[WEIGHT]
    totals[EMITTED] += weight * (MC2 if kind == POSITRON_PROBE else energy)
    # Not a literal 0: numba would compile what it is given to once more for the literal.
    top = kind - kind
    if kind == ELECTRON:
        top = local(random, stack, top, totals, world, tally, x, y, z, i, j, k, energy)
    if kind != ELECTRON or top < 0:
        u, v, w = isotropic(random)
        top = push(stack, kind - kind, totals, weight, kind, x, y, z, u, v, w, energy)
    while top > 0:
        kind = int(stack[top - 1, 0])
        if kind == PHOTON:
            top = photon(random, stack, top, totals, world, tally)
            continue
        top = electron(random, stack, top, totals, world, tally)
        if kind == POSITRON_PROBE:
            # The positron itself is scored with the electrons; here it shows where its photon starts.
            if totals[PROBE_INSIDE] == 1.0:
                x, y, z = totals[PROBE_X], totals[PROBE_Y], totals[PROBE_Z]
                u, v, w = isotropic(random)
                top = push(stack, top, totals, weight, PHOTON, x, y, z, u, v, w, MC2)
            else:
                totals[ESCAPED] += weight * MC2


@device
def emit(random, stack, totals, world, tally, source, number, count, offsets, active):
    """Emit and transport particle ``number`` of ``count``; return the place in ``voxels`` it came from.

    Voxels are taken in order, each as often as its share of the activity asks
    (systematic sampling); energies follow a golden-ratio sequence.  Both start at a
    random offset, which makes each batch an independent, unbiased sample.
    ``active`` is the place of the particle before, or -1 to search.
    """
    cumulative, probability = source.cumulative, source.probability
    last = len(cumulative) - 1
    wanted = (number + offsets[0]) / count * cumulative[last]
    if active < 0:
        active, high = 0, last
        while active < high:
            middle = (active + high) // 2
            if cumulative[middle] <= wanted:
                active = middle + 1
            else:
                high = middle
    while active < last and cumulative[active] <= wanted:
        active += 1
    r = offsets[1] + number * 0.6180339887498949
    r -= math.floor(r)
    line = source.guide[int(r * GUIDE)]
    while probability[line] <= r and line < len(probability) - 1:
        line += 1
    before = probability[line - 1] if line > 0 else 0.0
    energy = source.low[line] + (r - before) / (probability[line] - before) * source.width[line]
    ny, nx = world.cells.shape[1], world.cells.shape[2]
    j = source.voxels[active] // nx
    i = source.voxels[active] - j * nx
    k = j // ny
    j -= k * ny
    # A hair inside the voxel, so that rounding cannot move a source point over its face.
    x = (i + 1e-9 + (1.0 - 2e-9) * uniform(random)) * world.numbers[DX]
    y = (j + 1e-9 + (1.0 - 2e-9) * uniform(random)) * world.numbers[DY]
    z = (k + 1e-9 + (1.0 - 2e-9) * uniform(random)) * world.numbers[DZ]
    history(random, stack, totals, world, tally, source.kinds[line], x, y, z, i, j, k, energy)
    return active


@device
def run_batch(key, count, offsets, source, world, tally, totals, random, stack):
    """Run one batch on one thread of a processor; the GIL is released, so batches run side by side.

    ``random`` (2 unsigned integers) and ``stack`` (``STACK_ROWS`` rows) are room to work in.
    It stands in this file because numba compiles again what it has cached only when
    the file of the function that is called has changed.
    """
    active = count - count
    for number in range(count):
        start_random(random, key, np.uint64(number))
        active = emit(random, stack, totals, world, tally, source, number, count, offsets, active)
