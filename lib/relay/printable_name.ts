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
