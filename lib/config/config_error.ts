/**
 * What the user gave cannot be used: an option, an environment variable or a file.
 *
 * `message` is one line for the user: it names what is wrong and says what would be right, and it
 * never holds a token, a key or the text of a file. The program prints it and chooses the exit code.
 */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}
