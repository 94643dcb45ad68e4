// Parts that the program draws itself, good ones and spoiled ones, for `make demo`. The defects are made the
// way real ones come about (material missing, a groove cut, a yarn left out), never with the masks that
// training pictures are made with: a test on these parts is an honest one.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "data/image.h"

namespace ddpmts {

enum class PartKind : std::uint8_t {
  flange,   // a turned steel ring with six bolt holes on a dark mat
  fabric,   // a 2/1 twill with blue warp and pale weft; fills the picture
  blister,  // eight printed two-colour capsules in a foil tray
};
inline constexpr PartKind kPartKinds[] = {PartKind::flange, PartKind::fabric, PartKind::blister};

enum class DefectKind : std::uint8_t {
  none,
  scratch,    // a groove with a burr
  chip,       // material broken off or pressed in
  stain,      // a contamination with a soft edge
  crack,      // a thin branching line
  missing,    // a bolt hole, a yarn or a capsule is not there
  misplaced,  // a wrong float in the weave, a capsule the wrong way round
  tear,       // a hole with frayed edges
  fade,       // heat tint, bleaching, a tablet of the wrong shade
  smear,      // print dragged while wet
  fibre,      // a foreign thread lying on the part
};

/// Names as used for folders: "flange", "missing", ...; DefectKind::none is "good".
std::string_view name_of(PartKind part);
std::string_view name_of(DefectKind defect);
/// The defects that this part can have, without `none`.
std::span<const DefectKind> defects_of(PartKind part);

struct DrawnPart {
  Image image;
  Mask mask;  ///< of the same size: 1 where the defect changed the picture, else 0
};

/// Draws one part. The same arguments give the same bytes on every machine, and pictures with the same (part,
/// seed, index, size) differ only inside the mask of their defect. Severity is drawn too: some defects are
/// plain, some hard to see.
///
/// A pixel is in the mask where the defect changed a channel by four 8-bit levels or more before sensor
/// noise; gaps of a pixel are closed and specks dropped. Outside the mask the picture is, byte for byte, the
/// good part's.
/// @param index  number of the part, below 2^48
/// @param size   pixels a side, 16 to 4096; made for 128 and more
/// @throws std::invalid_argument for a size out of range or a defect that the part cannot have
DrawnPart draw_part(PartKind part, DefectKind defect, std::uint64_t seed, std::uint64_t index, int size);

}  // namespace ddpmts
