package pocketbert.NAME

import android.content.Context
import android.content.res.AssetFileDescriptor
import java.io.Closeable
import java.io.File
import java.util.concurrent.locks.ReentrantReadWriteLock
import kotlin.concurrent.read
import kotlin.concurrent.write

/** A label and its probability; of a model that was trained to give a number, that number. */
data class Label(val name: String, val score: Float)

/** An entity: the characters [start, end) of the text, as String.substring takes them. */
data class Entity(val name: String, val score: Float, val start: Int, val end: Int)

/** An answer, and how many tokens of the text were cut off because the model takes no more. */
data class Answer<T>(val value: T, val removedTokens: Int)

/**
 * The model NAME on this device: text in, answer out.
 *
 *     val model = TextModel.open(context)            // once, not on the main thread
 *     val best = model.classify("great film").value.first()
 *     model.close()
 *
 * Any thread may ask; calls take turns. [close] waits for those that are under way; whoever asks later gets an
 * IllegalStateException. A text with half a surrogate pair is refused with a CharacterCodingException, a question that
 * the model does not answer (entities of a model that classifies) with an IllegalArgumentException.
 */
class TextModel private constructor(private var handle: Long) : Closeable {
  private val lock = ReentrantReadWriteLock()

  private val labels: List<String> =
      generateSequence(0) { it + 1 }
          .map { NativeModel.label(handle, it) }
          .takeWhile { it != null }
          .map { it!!.decodeToString() }
          .toList()

  /** All labels with their scores, the best first. */
  fun classify(text: String, pair: String? = null): Answer<List<Label>> = ask { removed ->
    val values = NativeModel.classify(handle, utf8(text), pair?.let(::utf8), removed)
    values.toList().chunked(2) { (index, score) -> Label(labels[index.toInt()], score.toFloat()) }
  }

  /** The entities of a text, in their order. */
  fun findEntities(text: String): Answer<List<Entity>> = ask { removed ->
    val values = NativeModel.findEntities(handle, utf8(text), removed)
    values.toList().chunked(4) { (label, score, start, end) ->
      val name = labels[label.toInt()].substringAfter('-')
      Entity(name, score.toFloat(), place(text, start), place(text, end))
    }
  }

  /** The vector of a text. */
  fun embed(text: String, pair: String? = null): Answer<FloatArray> = ask { removed ->
    NativeModel.embed(handle, utf8(text), pair?.let(::utf8), removed)
  }

  /** Frees the model's memory; nothing happens where that was done before. */
  override fun close() = lock.write {
    if (handle != 0L) NativeModel.close(handle)
    handle = 0L
  }

  private fun <T> ask(question: (IntArray) -> T): Answer<T> = lock.read {
    check(handle != 0L) { "the model is closed" }
    val removed = IntArray(1)
    Answer(question(removed), removed[0])
  }

  private fun utf8(text: String): ByteArray = text.encodeToByteArray(throwOnInvalidSequence = true)

  private fun place(text: String, codePoints: Double): Int = text.offsetByCodePoints(0, codePoints.toInt())

  companion object {
    /**
     * Opens the model from the app's assets, where they lie without compression:
     *
     *     android { androidResources { noCompress += listOf("weights", "tokenizer") } }
     *
     * It takes some milliseconds; the weights are mapped, not read. [threads] is how many of the processor's cores work on
     * one text; a GPU does not use it.
     */
    fun open(context: Context, threads: Int = THREADS): TextModel =
        context.assets.openFd("NAME.weights").use { weights ->
          context.assets.openFd("NAME.tokenizer").use { tokenizer ->
            open(weights, tokenizer, threads, File(context.codeCacheDir, "pocketbert"))
          }
        }

    /** Opens the model from two files, such as downloaded ones. */
    fun open(weights: File, tokenizer: File, threads: Int = THREADS, kernels: File? = null): TextModel =
        TextModel(
            NativeModel.openFiles(
                weights.path.encodeToByteArray(),
                tokenizer.path.encodeToByteArray(),
                threads,
                kernels?.path?.encodeToByteArray(),
            )
        )

    private fun open(weights: AssetFileDescriptor, tokenizer: AssetFileDescriptor, threads: Int, kernels: File) =
        TextModel(
            NativeModel.openAssets(
                weights.parcelFileDescriptor.fd,
                weights.startOffset,
                weights.length,
                tokenizer.parcelFileDescriptor.fd,
                tokenizer.startOffset,
                tokenizer.length,
                threads,
                kernels.path.encodeToByteArray(),
            )
        )

    private const val THREADS = PB_THREADS
  }
}
