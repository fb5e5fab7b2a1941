/** What peers may be called: their names reach logs, the audit log, headers and other relays. */

/** More than a Kubernetes ServiceAccount's `sub`, 340 at most, or a SPIFFE ID as they are in use. */
export const maxNameUnits = 512;

/**
 * Letters, digits, punctuation and blanks of any script. Not controls, line ends, marks that turn the
 * direction of writing, characters without width or meaning, and halves of surrogate pairs.
 */
const printable = /^[^\p{C}\p{Zl}\p{Zp}]+$/u;

/** Whether something that an issuer wrote is a name: a printable text, neither empty nor endless. */
export function isPrintableName(value: unknown): value is string {
  return typeof value === "string" && value.length <= maxNameUnits && printable.test(value) &&
    value.trim() === value;
}

/** Why a value is not a name; "the claim …" comes in front. */
export function nameFault(claim: unknown): string {
  if (typeof claim !== "string") return `is ${kindOf(claim)}, must be a string`;
  if (claim === "") return "is empty";
  if (claim.length > maxNameUnits) {
    return `has ${claim.length} characters, must have ${maxNameUnits} at most`;
  }
  return "has characters that are not printable, or a blank at an end";
}

function kindOf(claim: unknown): string {
  if (claim === null) return "null";
  return Array.isArray(claim) ? "a list" : `of type ${typeof claim}`;
}
