package pocketbert.NAME;

import java.io.IOException;

/** What libNAME.so does, with its own kinds of data; TextModel is what apps use. */
final class NativeModel {
  static {
    System.loadLibrary("NAME");
  }

  private NativeModel() {}

  /**
   * Opens the model with its weights and its tokenizer, each from a descriptor, an offset and a length in bytes, as
   * AssetFileDescriptor has them; the descriptors may be closed then. A GPU keeps its kernels in the folder kernels (UTF-8,
   * or null for none). Returns a handle for the other methods, until close.
   */
  static native long openAssets(
      int weights,
      long weightsOffset,
      long weightsLength,
      int tokenizer,
      long tokenizerOffset,
      long tokenizerLength,
      int threads,
      byte[] kernels)
      throws IOException;

  /** The same from two files, whose paths are UTF-8. */
  static native long openFiles(byte[] weights, byte[] tokenizer, int threads, byte[] kernels)
      throws IOException;

  /** 1: classifies, 2: finds entities, 3: embeds. */
  static native int kind(long handle);

  /** The name of a label in UTF-8, null beyond the last. */
  static native byte[] label(long handle, int index);

  /**
   * [index, score] of each label, the best first. Texts are UTF-8, pair is null where there is one; removed[0] receives how
   * many tokens were cut off.
   */
  static native double[] classify(long handle, byte[] text, byte[] pair, int[] removed);

  /** [label, score, start, end] of each entity, in code points. */
  static native double[] findEntities(long handle, byte[] text, int[] removed);

  static native float[] embed(long handle, byte[] text, byte[] pair, int[] removed);

  /** Ends the handle; nothing else may be called with it at the same time or later. */
  static native void close(long handle);
}
