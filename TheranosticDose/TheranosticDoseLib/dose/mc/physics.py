"""Transport of one history: random numbers, electrons, photons.

Units are cm, g/cm3 and MeV.  A particle is a row of the stack:
``kind, x, y, z, u, v, w, energy``, positions from the corner of the grid.

Electrons: condensed history with the random hinge (Fernandez-Varea et al., NIM B 73
(1993) 447).  A step has a length in g/cm2; its energy loss is scored voxel by
voxel along the two straight halves, and one deflection at a random point of it has
the first and second transport moments of the step (artificial distribution of
Salvat, PENELOPE 2003).  Losses above ``HARD`` are single Moller collisions or
bremsstrahlung photons.  An electron that cannot leave its voxel is absorbed there.

Photons: Woodcock tracking; photoelectric effect, Compton scattering (Klein-Nishina
times the incoherent scattering function) and Rayleigh scattering (form factors).
"""

from __future__ import annotations

import math

import numpy as np

from TheranosticDoseLib.dose.mc.target import deposit_function, device

deposit = deposit_function()

ELECTRON, PHOTON, POSITRON_PROBE = 0, 1, 2
MC2 = 0.51099895
# Columns of the electron table (tissue, energy, column) ...
RANGE, LOSS, FIRST, SECOND, MOLLER, BREMS, PHOTONS = range(7)
# ... of the photon table (tissue, energy, column), cumulative from left to right ...
PHOTO, PHOTO_INCOHERENT, TOTAL = range(3)
# ... and of the list of numbers.
(
    ELECTRON_LOG0,
    ELECTRON_INVERSE_STEP,
    PHOTON_LOG0,
    PHOTON_INVERSE_STEP,
    TRANSFER_LOG0,
    TRANSFER_INVERSE_STEP,
    HARD,
    HARD_PHOTON,
    ELECTRON_CUT,
    PHOTON_CUT,
    STEP_FRACTION,
    SPACING_X,
    SPACING_Y,
    SPACING_Z,
    WEIGHT,
) = range(15)
# Columns of ``totals``.
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
    stack[top, 0] = kind
    stack[top, 1] = x
    stack[top, 2] = y
    stack[top, 3] = z
    stack[top, 4] = u
    stack[top, 5] = v
    stack[top, 6] = w
    stack[top, 7] = energy
    return top + 1


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
def photon_energy_of_bremsstrahlung(random, energy, hard, shape, row):
    """Return the energy of a photon above ``hard``: 1/k times the tabulated shape."""
    last = shape.shape[1] - 1
    while True:
        k = hard * math.exp(uniform(random) * math.log(energy / hard))
        f = k / energy * last
        i = min(int(f), last - 1)
        if uniform(random) <= shape[row, i] + (f - i) * (shape[row, i + 1] - shape[row, i]):
            return k


@device
def photon_until_rest(random, energy, medium, table, shape, numbers):
    """Return the energy of the bremsstrahlung photon of an electron absorbed on the spot, mostly 0."""
    f = (math.log(energy) - numbers[ELECTRON_LOG0]) * numbers[ELECTRON_INVERSE_STEP]
    row = min(max(int(f), 0), table.shape[1] - 2)
    wanted = uniform(random)
    if wanted >= table[medium, row, PHOTONS]:
        return 0.0
    while row > 0 and table[medium, row - 1, PHOTONS] > wanted:
        row -= 1
    at = math.exp(numbers[ELECTRON_LOG0] + row / numbers[ELECTRON_INVERSE_STEP])
    if at <= numbers[HARD_PHOTON]:
        return 0.0
    return photon_energy_of_bremsstrahlung(random, at, numbers[HARD_PHOTON], shape, row)


@device
def electron(random, stack, top, totals, density, tissue, table, shape, numbers, tally):
    """Transport the electron on top of the stack until it is absorbed or leaves; return the new top."""
    top -= 1
    probe = stack[top, 0] == POSITRON_PROBE
    x, y, z = stack[top, 1], stack[top, 2], stack[top, 3]
    u, v, w = stack[top, 4], stack[top, 5], stack[top, 6]
    energy = stack[top, 7]
    nz, ny, nx = density.shape
    dx, dy, dz = numbers[SPACING_X], numbers[SPACING_Y], numbers[SPACING_Z]
    i = min(max(int(x / dx), 0), nx - 1)
    j = min(max(int(y / dy), 0), ny - 1)
    k = min(max(int(z / dz), 0), nz - 1)
    hard, weight = numbers[HARD], numbers[WEIGHT]
    columns = table.shape[1] - 2
    inside = True
    medium = tissue[k, j, i]
    while inside:
        medium = tissue[k, j, i]
        rho = density[k, j, i]
        if energy <= numbers[ELECTRON_CUT] and rho > 0.0:
            break
        f = (math.log(energy) - numbers[ELECTRON_LOG0]) * numbers[ELECTRON_INVERSE_STEP]
        row = min(max(int(f), 0), columns)
        f -= row
        full_range = table[medium, row, RANGE] + f * (
            table[medium, row + 1, RANGE] - table[medium, row, RANGE]
        )
        face = min(x - i * dx, (i + 1) * dx - x)
        face = min(face, min(y - j * dy, (j + 1) * dy - y))
        face = min(face, min(z - k * dz, (k + 1) * dz - z))
        if full_range <= face * rho:
            break
        # Length of this step, g/cm2, and the energy in the middle of it.
        step = numbers[STEP_FRACTION] * full_range
        loss = table[medium, row, LOSS] + f * (table[medium, row + 1, LOSS] - table[medium, row, LOSS])
        middle = energy - 0.5 * step * loss
        f = (math.log(middle) - numbers[ELECTRON_LOG0]) * numbers[ELECTRON_INVERSE_STEP]
        row = min(max(int(f), 0), columns)
        f -= row
        moller = table[medium, row, MOLLER] + f * (
            table[medium, row + 1, MOLLER] - table[medium, row, MOLLER]
        )
        brems = table[medium, row, BREMS] + f * (table[medium, row + 1, BREMS] - table[medium, row, BREMS])
        event = False
        if moller + brems > 0.0:
            free = -math.log(uniform(random)) / (moller + brems)
            if free < step:
                step = free
                event = True
        hinge = step * uniform(random)
        for half in range(2):
            remaining = hinge if half == 0 else step - hinge
            if half == 1:
                # The deflection of the whole step, in the tissue where it happens.
                first = table[medium, row, FIRST] + f * (
                    table[medium, row + 1, FIRST] - table[medium, row, FIRST]
                )
                second = table[medium, row, SECOND] + f * (
                    table[medium, row + 1, SECOND] - table[medium, row, SECOND]
                )
                mean = 0.5 * (1.0 - math.exp(-step * first))
                square = mean - (1.0 - math.exp(-step * second)) / 6.0
                r = uniform(random)
                if mean < 0.45:
                    edge = (2.0 * mean - 3.0 * square) / (1.0 - 2.0 * mean)
                    part = 1.0 - 2.0 * mean + edge
                    mu = edge * r / part if r < part else edge + (1.0 - edge) * (r - part) / (1.0 - part)
                else:
                    mu = r
                u, v, w = rotate(u, v, w, 1.0 - 2.0 * mu, 2.0 * math.pi * uniform(random))
            loss = table[medium, row, LOSS] + f * (table[medium, row + 1, LOSS] - table[medium, row, LOSS])
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
                if not probe:
                    deposit(tally, (k * ny + j) * nx + i, weight * lost)
                x += path * u
                y += path * v
                z += path * w
                if not leaves:
                    break
                if tx <= ty and tx <= tz:
                    i += 1 if u > 0.0 else -1
                elif ty <= tz:
                    j += 1 if v > 0.0 else -1
                else:
                    k += 1 if w > 0.0 else -1
                if i < 0 or j < 0 or k < 0 or i >= nx or j >= ny or k >= nz:
                    inside = False
                    break
                if energy <= 0.0:
                    break
                rho = density[k, j, i]
                if tissue[k, j, i] != medium:
                    medium = tissue[k, j, i]
                    loss = table[medium, row, LOSS] + f * (
                        table[medium, row + 1, LOSS] - table[medium, row, LOSS]
                    )
            if not inside or energy <= 0.0:
                break
        if not inside or energy <= 0.0:
            break
        if event:
            phi = 2.0 * math.pi * uniform(random)
            if uniform(random) * (moller + brems) < moller:
                if energy > 2.0 * hard:
                    transfer = moller_loss(random, energy, hard)
                    rest = energy - transfer
                    cosine = math.sqrt(transfer * (energy + 2.0 * MC2) / (energy * (transfer + 2.0 * MC2)))
                    a, b, c = rotate(u, v, w, cosine, phi + math.pi)
                    if not probe:
                        top = push(stack, top, totals, weight, ELECTRON, x, y, z, a, b, c, transfer)
                    cosine = math.sqrt(rest * (energy + 2.0 * MC2) / (energy * (rest + 2.0 * MC2)))
                    u, v, w = rotate(u, v, w, cosine, phi)
                    energy = rest
            elif energy > numbers[HARD_PHOTON]:
                transfer = photon_energy_of_bremsstrahlung(random, energy, numbers[HARD_PHOTON], shape, row)
                speed = math.sqrt(energy * (energy + 2.0 * MC2)) / (energy + MC2)
                r = 2.0 * uniform(random) - 1.0
                a, b, c = rotate(u, v, w, (r + speed) / (1.0 + speed * r), phi)
                if not probe:
                    top = push(stack, top, totals, weight, PHOTON, x, y, z, a, b, c, transfer)
                energy -= transfer
    if probe:
        totals[PROBE_X], totals[PROBE_Y], totals[PROBE_Z] = x, y, z
        totals[PROBE_INSIDE] = 1.0 if inside else 0.0
    elif inside:
        transfer = photon_until_rest(random, energy, medium, table, shape, numbers)
        if transfer > 0.0:
            a, b, c = rotate(0.0, 0.0, 1.0, 2.0 * uniform(random) - 1.0, 2.0 * math.pi * uniform(random))
            top = push(stack, top, totals, weight, PHOTON, x, y, z, a, b, c, transfer)
        deposit(tally, (k * ny + j) * nx + i, weight * (energy - transfer))
    else:
        totals[ESCAPED] += weight * energy
    return top


@device
def compton(random, energy, medium, scattering, numbers):
    """Return the energy and the cosine of the scattered photon."""
    kappa = energy / MC2
    least = 1.0 / (1.0 + 2.0 * kappa)
    log = -math.log(least)
    flat = 0.5 * (1.0 - least * least)
    last = scattering.shape[1] - 2
    while True:
        if uniform(random) * (log + flat) < log:
            epsilon = math.exp(-log * uniform(random))
        else:
            epsilon = math.sqrt(least * least + (1.0 - least * least) * uniform(random))
        t = (1.0 - epsilon) / (kappa * epsilon)
        sine2 = t * (2.0 - t)
        accept = 1.0 - epsilon * sine2 / (1.0 + epsilon * epsilon)
        # x = sin(angle/2) E / hc, 1/angstrom; hc = 12.39842 keV angstrom
        transfer = math.sqrt(max(0.5 * t, 1e-12)) * energy / 0.01239842
        f = (math.log(transfer) - numbers[TRANSFER_LOG0]) * numbers[TRANSFER_INVERSE_STEP]
        f = min(max(f, 0.0), last + 0.999999)
        i = int(f)
        bound = scattering[medium, i, 0] + (f - i) * (scattering[medium, i + 1, 0] - scattering[medium, i, 0])
        if uniform(random) < accept * bound:
            return epsilon * energy, 1.0 - t


@device
def rayleigh(random, energy, medium, scattering, numbers):
    """Return the cosine of a Rayleigh scattering: squared form factor times Thomson."""
    last = scattering.shape[1] - 1
    limit = energy / 0.01239842
    f = (math.log(limit) - numbers[TRANSFER_LOG0]) * numbers[TRANSFER_INVERSE_STEP]
    f = min(max(f, 0.0), last - 1e-6)
    i = int(f)
    most = scattering[medium, i, 1] + (f - i) * (scattering[medium, i + 1, 1] - scattering[medium, i, 1])
    while True:
        wanted = most * uniform(random)
        low, high = 0, last
        while high - low > 1:
            mid = (low + high) // 2
            if scattering[medium, mid, 1] <= wanted:
                low = mid
            else:
                high = mid
        below, above = scattering[medium, low, 1], scattering[medium, high, 1]
        part = (wanted - below) / (above - below) if above > below else 0.0
        # The table is cumulative in x^2, linear between its points.
        square = scattering[medium, low, 2] + part * (
            scattering[medium, high, 2] - scattering[medium, low, 2]
        )
        cosine = 1.0 - 2.0 * min(square / (limit * limit), 1.0)
        if 2.0 * uniform(random) <= 1.0 + cosine * cosine:
            return cosine


@device
def photon(random, stack, top, totals, density, tissue, table, scattering, largest, numbers, tally):
    """Transport the photon on top of the stack; its electrons go onto the stack; return the new top."""
    top -= 1
    x, y, z = stack[top, 1], stack[top, 2], stack[top, 3]
    u, v, w = stack[top, 4], stack[top, 5], stack[top, 6]
    energy, weight = stack[top, 7], numbers[WEIGHT]
    nz, ny, nx = density.shape
    ix, iy, iz = 1.0 / numbers[SPACING_X], 1.0 / numbers[SPACING_Y], 1.0 / numbers[SPACING_Z]
    columns = table.shape[1] - 2
    while True:
        f = (math.log(energy) - numbers[PHOTON_LOG0]) * numbers[PHOTON_INVERSE_STEP]
        f = min(max(f, 0.0), columns + 0.999999)
        row = int(f)
        f -= row
        most = largest[row] + f * (largest[row + 1] - largest[row])
        absorbed = energy <= numbers[PHOTON_CUT]
        chance = 0.0
        medium, i, j, k = 0, 0, 0, 0
        while True:
            if not absorbed:
                path = -math.log(uniform(random)) / most
                x += path * u
                y += path * v
                z += path * w
            fi, fj, fk = x * ix, y * iy, z * iz
            if fi < 0.0 or fj < 0.0 or fk < 0.0 or fi >= nx or fj >= ny or fk >= nz:
                totals[ESCAPED] += weight * energy
                return top
            i, j, k = int(fi), int(fj), int(fk)
            if absorbed:
                deposit(tally, (k * ny + j) * nx + i, weight * energy)
                return top
            medium = tissue[k, j, i]
            rho = density[k, j, i]
            total = table[medium, row, TOTAL] + f * (
                table[medium, row + 1, TOTAL] - table[medium, row, TOTAL]
            )
            chance = uniform(random) * most
            if chance < rho * total:
                chance /= rho
                break
        photo = table[medium, row, PHOTO] + f * (table[medium, row + 1, PHOTO] - table[medium, row, PHOTO])
        if chance < photo:
            # Binding energy and fluorescence stay with the photoelectron (at most 4 keV in bone).
            c = 2.0 * uniform(random) - 1.0
            a, b, c = rotate(0.0, 0.0, 1.0, c, 2.0 * math.pi * uniform(random))
            return push(stack, top, totals, weight, ELECTRON, x, y, z, a, b, c, energy)
        both = table[medium, row, PHOTO_INCOHERENT] + f * (
            table[medium, row + 1, PHOTO_INCOHERENT] - table[medium, row, PHOTO_INCOHERENT]
        )
        phi = 2.0 * math.pi * uniform(random)
        if chance < both:
            rest, cosine = compton(random, energy, medium, scattering, numbers)
            recoil = energy - rest
            if recoil <= numbers[ELECTRON_CUT]:
                deposit(tally, (k * ny + j) * nx + i, weight * recoil)
            else:
                momentum = math.sqrt(recoil * (recoil + 2.0 * MC2))
                a, b, c = rotate(u, v, w, (energy - rest * cosine) / momentum, phi + math.pi)
                top = push(stack, top, totals, weight, ELECTRON, x, y, z, a, b, c, recoil)
            energy = rest
        else:
            cosine = rayleigh(random, energy, medium, scattering, numbers)
        u, v, w = rotate(u, v, w, cosine, phi)


@device
def history(
    random,
    stack,
    totals,
    density,
    tissue,
    electrons,
    shape,
    photons,
    scattering,
    largest,
    numbers,
    tally,
    kind,
    x,
    y,
    z,
    energy,
):
    """Transport one emitted particle (isotropic) and all that it sets free."""
    weight = numbers[WEIGHT]
    totals[EMITTED] += weight * (MC2 if kind == POSITRON_PROBE else energy)
    if kind == POSITRON_PROBE:
        # The positron itself is scored with the electrons; here it only shows where it ends.
        a, b, c = rotate(0.0, 0.0, 1.0, 2.0 * uniform(random) - 1.0, 2.0 * math.pi * uniform(random))
        push(stack, 0, totals, weight, POSITRON_PROBE, x, y, z, a, b, c, energy)
        electron(random, stack, 1, totals, density, tissue, electrons, shape, numbers, tally)
        x, y, z = totals[PROBE_X], totals[PROBE_Y], totals[PROBE_Z]
        kind = PHOTON
        energy = MC2
        if totals[PROBE_INSIDE] == 0.0:
            totals[ESCAPED] += weight * energy
            return
    a, b, c = rotate(0.0, 0.0, 1.0, 2.0 * uniform(random) - 1.0, 2.0 * math.pi * uniform(random))
    top = push(stack, 0, totals, weight, kind, x, y, z, a, b, c, energy)
    while top > 0:
        if stack[top - 1, 0] == PHOTON:
            top = photon(
                random, stack, top, totals, density, tissue, photons, scattering, largest, numbers, tally
            )
        else:
            top = electron(random, stack, top, totals, density, tissue, electrons, shape, numbers, tally)


@device
def emit(
    random,
    stack,
    totals,
    number,
    count,
    active,
    voxel_offset,
    energy_offset,
    cumulative,
    voxels,
    probability,
    low,
    width,
    kinds,
    density,
    tissue,
    electrons,
    shape,
    photons,
    scattering,
    largest,
    numbers,
    tally,
):
    """Emit and transport particle ``number`` of ``count``; return the place in ``voxels`` it came from.

    Voxels are taken in order, each as often as its share of the activity asks
    (systematic sampling); energies follow a golden-ratio sequence.  Both start at a
    random offset, which makes each batch an independent, unbiased sample.
    """
    nz, ny, nx = density.shape
    last = len(cumulative) - 1
    wanted = (number + voxel_offset) / count * cumulative[last]
    if active < 0:
        high = last
        active = 0
        while active < high:
            mid = (active + high) // 2
            if cumulative[mid] <= wanted:
                active = mid + 1
            else:
                high = mid
    while active < last and cumulative[active] <= wanted:
        active += 1
    r = (energy_offset + number * 0.6180339887498949) % 1.0
    first, line = 0, len(probability) - 1
    while first < line:
        mid = (first + line) // 2
        if probability[mid] <= r:
            first = mid + 1
        else:
            line = mid
    before = probability[line - 1] if line > 0 else 0.0
    energy = low[line] + (r - before) / (probability[line] - before) * width[line]
    cell = voxels[active]
    x = (cell % nx + uniform(random)) * numbers[SPACING_X]
    y = ((cell // nx) % ny + uniform(random)) * numbers[SPACING_Y]
    z = (cell // (nx * ny) + uniform(random)) * numbers[SPACING_Z]
    history(
        random,
        stack,
        totals,
        density,
        tissue,
        electrons,
        shape,
        photons,
        scattering,
        largest,
        numbers,
        tally,
        kinds[line],
        x,
        y,
        z,
        energy,
    )
    return active


@device
def run_batch(
    key,
    count,
    voxel_offset,
    energy_offset,
    cumulative,
    voxels,
    probability,
    low,
    width,
    kinds,
    density,
    tissue,
    electrons,
    shape,
    photons,
    scattering,
    largest,
    numbers,
    tally,
    totals,
):
    """Run one batch on one thread of a processor; the GIL is released, so batches run side by side.

    It stands in this file because numba recompiles what it has cached only when
    the file of the function that is called has changed.
    """
    random = np.empty(2, np.uint64)
    stack = np.empty((64, 8))
    active = 0
    for number in range(count):
        start_random(random, key, np.uint64(number))
        active = emit(
            random,
            stack,
            totals,
            number,
            count,
            active,
            voxel_offset,
            energy_offset,
            cumulative,
            voxels,
            probability,
            low,
            width,
            kinds,
            density,
            tissue,
            electrons,
            shape,
            photons,
            scattering,
            largest,
            numbers,
            tally,
        )
