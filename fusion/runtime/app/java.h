/* What is needed of the Java Native Interface, by the places that its specification gives to its functions: zig brings no
   jni.h, and every Java machine and Android has these at the same places. */
#ifndef POCKETBERT_JAVA_H
#define POCKETBERT_JAVA_H
#include <stddef.h>
#include <stdint.h>

#define PB_JAVA_1_6 0x00010006

typedef void *pb_object;
typedef int8_t pb_java_byte;
typedef int32_t pb_java_int;
typedef int64_t pb_java_long;

typedef struct {
  const char *name;
  const char *signature;
  void *function;
} pb_java_method;

typedef struct pb_java_functions pb_java_functions;
typedef const pb_java_functions *pb_java; /* calls get a pointer to one */

struct pb_java_functions {
  void *before_find_class[6];
  pb_object (*find_class)(pb_java *java, const char *name);
  void *before_throw_new[7];
  pb_java_int (*throw_new)(pb_java *java, pb_object class_, const char *line);
  void *before_array_length[156];
  pb_java_int (*array_length)(pb_java *java, pb_object array);
  void *before_new_bytes[4];
  pb_object (*new_bytes)(pb_java *java, pb_java_int length);
  void *before_new_floats[4];
  pb_object (*new_floats)(pb_java *java, pb_java_int length);
  pb_object (*new_doubles)(pb_java *java, pb_java_int length);
  void *before_get_bytes[17];
  void (*get_bytes)(pb_java *java, pb_object array, pb_java_int start, pb_java_int count, pb_java_byte *to);
  void *before_set_bytes[7];
  void (*set_bytes)(pb_java *java, pb_object array, pb_java_int start, pb_java_int count, const pb_java_byte *from);
  void *before_set_ints[2];
  void (*set_ints)(pb_java *java, pb_object array, pb_java_int start, pb_java_int count, const pb_java_int *from);
  void *before_set_floats[1];
  void (*set_floats)(pb_java *java, pb_object array, pb_java_int start, pb_java_int count, const float *from);
  void (*set_doubles)(pb_java *java, pb_object array, pb_java_int start, pb_java_int count, const double *from);
  pb_java_int (*register_natives)(pb_java *java, pb_object class_, const pb_java_method *methods, pb_java_int count);
};

typedef struct pb_machine_functions pb_machine_functions;
typedef const pb_machine_functions *pb_java_machine;

struct pb_machine_functions {
  void *before_get_environment[6];
  pb_java_int (*get_environment)(pb_java_machine *machine, void **java, pb_java_int version);
};

/* Places by the specification (chapter 4: interface function table; chapter 5: invocation). */
#define PB_AT(type, member, place) \
  _Static_assert(offsetof(type, member) == (place) * sizeof(void *), "another place of the Java Native Interface")
PB_AT(pb_java_functions, find_class, 6);
PB_AT(pb_java_functions, throw_new, 14);
PB_AT(pb_java_functions, array_length, 171);
PB_AT(pb_java_functions, new_bytes, 176);
PB_AT(pb_java_functions, new_floats, 181);
PB_AT(pb_java_functions, new_doubles, 182);
PB_AT(pb_java_functions, get_bytes, 200);
PB_AT(pb_java_functions, set_bytes, 208);
PB_AT(pb_java_functions, set_ints, 211);
PB_AT(pb_java_functions, set_floats, 213);
PB_AT(pb_java_functions, set_doubles, 214);
PB_AT(pb_java_functions, register_natives, 215);
PB_AT(pb_machine_functions, get_environment, 6);

#endif
